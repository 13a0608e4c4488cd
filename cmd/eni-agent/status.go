package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutStatus = `eni-agent status shows what an agent without Kubernetes has: its ENIs, files that
are wrong, how old the report is, and whether the agent lives and does its work. It
only reads the agent's files. With --check it exits with 1 unless all
is well.
`

// status shows what a stand-alone agent has reported.
func status(_ context.Context, args []string) error {
	flags := program.Flags(name+" status", aboutStatus)
	path := flags.String("state-file", defaultStateFile, "where the agent's report is kept")
	output := flags.String("o", "table", "table, json or yaml")
	check := flags.Bool("check", false, "fail unless the agent runs and is ready, every ENI is Ready and no file is wrong")
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	state, err := files.Read(*path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no state file %s: no agent has run here with --nodeeni-dir, or it has another --state-file", *path)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	life, err := files.Look(*path, now)
	if err != nil {
		return err
	}
	age, err := files.Age(*path, now)
	if err != nil {
		return err
	}
	if err := printState(os.Stdout, *output, state, life, age); err != nil {
		return err
	}
	if *check {
		return unwell(state, life)
	}
	return nil
}

// stateNow is the state for programs: what the file holds may be long past.
type stateNow struct {
	files.State
	Agent agentNow `json:"agent"`
}

type agentNow struct {
	Running bool `json:"running"`
	// Problem says why it does not do its work.
	Problem string `json:"problem,omitempty"`
	// ReportAgeSeconds is how long ago the report last changed.
	ReportAgeSeconds int64 `json:"reportAgeSeconds"`
}

func printState(w io.Writer, output string, state files.State, life files.Life, age time.Duration) error {
	var data []byte
	var err error
	now := stateNow{state, agentNow{life.Running, life.Problem, int64(age.Seconds())}}
	switch output {
	case "table":
		return printTable(w, state, life, age)
	case "json":
		data, err = json.MarshalIndent(now, "", "  ")
		data = append(data, '\n')
	case "yaml":
		data, err = yaml.Marshal(now)
	default:
		return fmt.Errorf("-o %s: want table, json or yaml", output)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

func printTable(w io.Writer, state files.State, life files.Life, age time.Duration) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Node %s, cluster %s", state.Metadata.Name, state.Cluster)
	if id := state.Status.InstanceID; id != "" {
		fmt.Fprintf(&b, ", instance %s in %s", id, state.Status.Zone)
	}
	b.WriteString("\n")
	written := duration.HumanDuration(age)
	if life.Problem == "" {
		fmt.Fprintf(&b, "The agent is ready. Its report last changed %s ago.\n", written)
	} else {
		fmt.Fprintf(&b, "%s%s. This is the last report, %s old.\n", strings.ToUpper(life.Problem[:1]), life.Problem[1:], written)
	}
	b.WriteString("\n")
	if len(state.Status.ENIs) == 0 {
		b.WriteString("No ENIs.\n")
	} else if err := printENIs(&b, state.Status.ENIs); err != nil {
		return err
	}
	if state.Problem != "" {
		fmt.Fprintf(&b, "\n%s\n", state.Problem)
	}
	for _, f := range state.Files {
		if f.Error != "" {
			fmt.Fprintf(&b, "\n%s/%s is wrong, and %s.\n  %s\n", state.Directory, f.Name, inForce(f), f.Error)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// inForce says what a file that is wrong counts for.
func inForce(f files.File) string {
	var names []string
	for _, n := range f.NodeENIs {
		names = append(names, n.Name)
	}
	switch {
	case len(names) > 0:
		return "counts for what it held before: " + strings.Join(names, ", ")
	case f.Unknown:
		return "until it is right, ENIs of which no other file tells stay as they are"
	default:
		return "has held nothing before"
	}
}

func printENIs(w io.Writer, enis []v1alpha1.ENIState) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODEENI\tENI\tDEVICE\tLINK\tMTU\tADDRESSES\tPHASE\tSINCE\tMESSAGE")
	for _, e := range enis {
		device, mtu := "-", "-"
		if e.DeviceIndex > 0 {
			device = fmt.Sprint(e.DeviceIndex)
		}
		if e.MTU > 0 {
			mtu = fmt.Sprint(e.MTU)
		}
		fmt.Fprintln(t, strings.Join([]string{
			e.NodeENI, orDash(e.ENIID), device, orDash(e.InterfaceName), mtu, orDash(strings.Join(e.Addresses, ",")),
			string(e.Phase), e.LastTransitionTime.UTC().Format(time.RFC3339), orDash(e.Message),
		}, "\t"))
	}
	return t.Flush()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// unwell says, for --check, what is not as it should be.
func unwell(state files.State, life files.Life) error {
	var wrong []string
	if life.Problem != "" {
		wrong = append(wrong, life.Problem)
	}
	for _, e := range state.Status.ENIs {
		if e.Phase != v1alpha1.PhaseReady {
			wrong = append(wrong, fmt.Sprintf("an ENI of %s is %s", e.NodeENI, e.Phase))
		}
	}
	for _, name := range wrongFiles(state) {
		wrong = append(wrong, name+" is wrong")
	}
	if state.Problem != "" {
		wrong = append(wrong, state.Problem)
	}
	if len(wrong) > 0 {
		return errors.New("not all is well: " + strings.Join(wrong, "; "))
	}
	return nil
}
