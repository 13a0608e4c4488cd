package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutStatus = `eni-agent status shows the ENIs of a standalone agent, invalid NodeENI files, the age
of the report, whether the agent is running and ready, and which pods have addresses
of the ENIs. It only reads files of the agent, of the CNI plugin, and of eni-dra.

On a node of a Kubernetes cluster, it shows only the pods, and the ResourceClaims that
have ENIs on demand. The NodeENIState has the ENIs.

With --check, it exits with 1 unless the agent is running and ready, every ENI is
Ready, and every file is valid.

Usage:
  eni-agent status [flags]

Examples:
  eni-agent status
  eni-agent status --check -o json
`

// status shows what a stand-alone agent has reported.
func status(_ context.Context, args []string) error {
	flags := program.Flags(name+" status", aboutStatus)
	path := flags.String("state-file", defaultStateFile, "path of the file in which the agent keeps its report")
	output := flags.String("o", "table", "output format: table, json, or yaml")
	check := flags.Bool("check", false, "exit with 1 unless the agent is running and ready, every ENI is Ready, and every file is valid")
	var podsDataDir string
	definePodsDataDir(flags, &podsDataDir, "")
	var claimFiles agent.ClaimFiles
	defineClaimFiles(flags, &claimFiles, "")
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	pods, err := podsOn(podsDataDir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Cannot read all files of the CNI plugin:", err)
	}
	claims, err := claimsOn(claimFiles)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Cannot read all files about ResourceClaims:", err)
	}
	state, err := files.Read(*path)
	if inCluster := (clusterNode{pods, claims}); errors.Is(err, fs.ErrNotExist) && inCluster.any() && !*check {
		return show(os.Stdout, *output, inCluster, inCluster.print)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the state file %s does not exist: no agent with --nodeeni-dir has run here, or it uses another --state-file", *path)
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
	if err := printState(os.Stdout, *output, state, life, age, pods); err != nil {
		return err
	}
	if *check {
		return unwell(state, life)
	}
	return nil
}

// clusterNode is what the files of a node show whose ENIs are in its NodeENIState.
type clusterNode struct {
	Pods   []podNow   `json:"pods,omitempty"`
	Claims []claimNow `json:"claims,omitempty"`
}

func (n clusterNode) any() bool { return len(n.Pods)+len(n.Claims) > 0 }

func (n clusterNode) print(w io.Writer) error {
	if len(n.Pods) > 0 {
		if err := printPods(w, n.Pods); err != nil || len(n.Claims) == 0 {
			return err
		}
		fmt.Fprintln(w)
	}
	return printClaims(w, n.Claims)
}

// stateNow is the state for programs: what the file holds may be long past.
type stateNow struct {
	files.State
	Agent agentNow `json:"agent"`
	Pods  []podNow `json:"pods,omitempty"`
}

type agentNow struct {
	Running bool `json:"running"`
	// Problem says why it does not do its work.
	Problem string `json:"problem,omitempty"`
	// ReportAgeSeconds is how long ago the report last changed.
	ReportAgeSeconds int64 `json:"reportAgeSeconds"`
}

func printState(w io.Writer, output string, state files.State, life files.Life, age time.Duration, pods []podNow) error {
	now := stateNow{state, agentNow{life.Running, life.Problem, int64(age.Seconds())}, pods}
	return show(w, output, now, func(w io.Writer) error {
		if err := printTable(w, state, life, age); err != nil || len(pods) == 0 {
			return err
		}
		fmt.Fprintln(w)
		return printPods(w, pods)
	})
}

// show writes a value in one of the formats.
func show(w io.Writer, output string, value any, table func(io.Writer) error) error {
	var data []byte
	var err error
	switch output {
	case "table":
		return table(w)
	case "json":
		data, err = json.MarshalIndent(value, "", "  ")
		data = append(data, '\n')
	case "yaml":
		data, err = yaml.Marshal(value)
	default:
		return fmt.Errorf("-o %s: must be table, json, or yaml", output)
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
			fmt.Fprintf(&b, "\n%s/%s is not valid; %s.\n  %s\n", state.Directory, f.Name, inForce(f), f.Error)
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
		return "the agent uses its last valid contents: " + strings.Join(names, ", ")
	case f.Unknown:
		return "until you fix it, the agent keeps all ENIs that are in no other file"
	default:
		return "the agent ignores it"
	}
}

// column is one of the table's; "" stands for nothing to show.
type column struct {
	name string
	of   func(v1alpha1.ENIState) string
	// always: the column is there even when no ENI has anything to show in it.
	always bool
}

var columns = []column{
	{"NODEENI", func(e v1alpha1.ENIState) string { return e.NodeENI }, true},
	{"ENI", func(e v1alpha1.ENIState) string { return e.ENIID }, true},
	{"CARD", func(e v1alpha1.ENIState) string { return positive(e.NetworkCard) }, false},
	{"DEVICE", func(e v1alpha1.ENIState) string { return positive(e.DeviceIndex) }, true},
	{"LINK", func(e v1alpha1.ENIState) string { return e.InterfaceName }, true},
	{"MTU", func(e v1alpha1.ENIState) string { return positive(e.MTU) }, true},
	{"ADDRESSES", func(e v1alpha1.ENIState) string { return strings.Join(e.Addresses, ",") }, true},
	{"PREFIXES", func(e v1alpha1.ENIState) string { return strings.Join(e.Prefixes, ",") }, false},
	{"ATTRIBUTES", attributes, false},
	{"PHASE", func(e v1alpha1.ENIState) string { return string(e.Phase) }, true},
	{"SINCE", func(e v1alpha1.ENIState) string { return e.LastTransitionTime.UTC().Format(time.RFC3339) }, true},
	{"MESSAGE", func(e v1alpha1.ENIState) string { return e.Message }, true},
}

func printENIs(w io.Writer, enis []v1alpha1.ENIState) error {
	lines := make([][]string, len(enis)+1) // of cells; the first has the names
	for _, c := range columns {
		if !c.always && !slices.ContainsFunc(enis, func(e v1alpha1.ENIState) bool { return c.of(e) != "" }) {
			continue
		}
		lines[0] = append(lines[0], c.name)
		for i, e := range enis {
			lines[i+1] = append(lines[i+1], orDash(c.of(e)))
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cells := range lines {
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// attributes are those that EC2 shows besides addresses, by their names in a NodeENI.
func attributes(e v1alpha1.ENIState) string {
	tracking, express := ptr.Deref(e.ConnectionTracking, v1alpha1.ConnectionTracking{}), ptr.Deref(e.ENAExpress, v1alpha1.ENAExpress{})
	var set []string
	for _, a := range []struct {
		name  string
		value int32
	}{
		{"tcpEstablishedTimeout", tracking.TCPEstablishedTimeout},
		{"udpTimeout", tracking.UDPTimeout},
		{"udpStreamTimeout", tracking.UDPStreamTimeout},
		{"enaQueues", e.ENAQueues},
	} {
		if a.value > 0 {
			set = append(set, fmt.Sprintf("%s=%d", a.name, a.value))
		}
	}
	for _, a := range []struct {
		name string
		on   bool
	}{{"enaExpress", express.Enabled}, {"enaExpress.udp", express.UDP}, {"primaryIPv6", e.PrimaryIPv6}} {
		if a.on {
			set = append(set, a.name)
		}
	}
	return strings.Join(set, ",")
}

func positive(n int32) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprint(n)
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
			wrong = append(wrong, fmt.Sprintf("an ENI of NodeENI %s is %s", e.NodeENI, e.Phase))
		}
	}
	for _, name := range wrongFiles(state) {
		wrong = append(wrong, name+" is not valid")
	}
	if state.Problem != "" {
		wrong = append(wrong, state.Problem)
	}
	if len(wrong) > 0 {
		return errors.New("not healthy: " + strings.Join(wrong, "; "))
	}
	return nil
}
