package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutCleanup = `eni-agent cleanup removes everything that a standalone agent has created on this
instance: it deconfigures the links of the agent's ENIs, detaches and deletes the
ENIs, and removes the agent's rules, routes, state file, and network files. It keeps
NodeENI files and the records of the CNI plugin eni.

Stop the agent first. You can interrupt the command and run it again. It exits with
1 if ENIs remain after --timeout.

Usage:
  eni-agent cleanup [flags]

Examples:
  systemctl stop eni-agent
  eni-agent cleanup
`

// cleanup is an agent that wants nothing, and ends when it has nothing.
func cleanup(ctx context.Context, args []string) error {
	flags := program.Flags(name+" cleanup", aboutCleanup)
	path := flags.String("state-file", defaultStateFile, "path of the file in which the agent keeps its report")
	cluster := flags.String("cluster-name", "", "cluster name, which is the value of the ENIs' tag networking.k8s.aws/cluster (default the one in the state file, then standalone)")
	var podFiles agent.PodFiles
	definePodFiles(flags, &podFiles, "")
	timeout := flags.Duration("timeout", 10*time.Minute, "how long to wait until all ENIs are deleted")
	level := flags.String("log-level", "warn", "lowest level of log messages: debug, info, warn, or error")
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	log, err := program.Logger(os.Stderr, "text", *level)
	if err != nil {
		return err
	}
	stateFile, err := files.Lock(*path)
	if errors.Is(err, files.ErrInUse) {
		return fmt.Errorf("%w; stop the service first: systemctl stop eni-agent", err)
	}
	if err != nil {
		return err
	}
	defer stateFile.Unlock()

	began := ctx
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	cfg := agent.Config{Log: log, Metrics: agent.NewMetrics(prometheus.NewRegistry()), Pods: &podFiles}
	if _, err := onInstance(ctx, &cfg, nil); err != nil {
		return unfinished(began, *timeout, nil, err)
	}
	progress := &progress{out: os.Stdout}
	nothing, err := files.NewNothing(stateFile, cfg.Identity.InstanceID, *cluster, log, progress.changed)
	if err != nil {
		return err
	}
	host, err := hostnet.Open()
	if err != nil {
		return err
	}
	defer host.Close()

	fmt.Printf("Removing the ENIs of %s with the cluster tag %q.\n", cfg.Identity.InstanceID, nothing.Cluster())
	emptied := false
	cfg.Cluster, cfg.Node, cfg.Source, cfg.Links = nothing.Cluster(), nothing.Node(), nothing, host
	cfg.Collector, cfg.Recorder = cfg.EC2, noEvents{}
	cfg.Emptied = func() {
		emptied = true
		cancel()
	}
	if err := agent.New(cfg).Run(ctx); err != nil {
		return err
	}
	if !emptied {
		return unfinished(began, *timeout, progress.left, nil)
	}
	if err := stateFile.Remove(); err != nil {
		return err
	}
	fmt.Printf("Done: %[2]d ENIs removed; %[1]s has none left.\n", cfg.Identity.InstanceID, progress.removed)
	return nil
}

// unfinished is the error of a cleanup that was not over in time, or interrupted.
func unfinished(began context.Context, timeout time.Duration, left []v1alpha1.ENIState, err error) error {
	if began.Err() != nil {
		return errors.New("interrupted; run the command again to continue")
	}
	text := fmt.Sprintf("not finished within %v; run the command again to continue", timeout)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, e := range left {
		text += fmt.Sprintf("\n  %s: %s", title(e), e.Message)
	}
	return errors.New(text)
}

// progress says what becomes of each ENI.
type progress struct {
	out     io.Writer
	left    []v1alpha1.ENIState
	removed int
}

func (p *progress) changed(report v1alpha1.NodeENIStateStatus) {
	said := map[string]string{}
	for _, e := range p.left {
		said[title(e)] = e.Message
	}
	for _, e := range report.ENIs {
		if said[title(e)] != e.Message {
			fmt.Fprintln(p.out, v1alpha1.Printable(title(e)+": "+e.Message)) // its NodeENI is a tag, which others can edit
		}
		delete(said, title(e))
	}
	for _, e := range p.left {
		if _, gone := said[title(e)]; gone && e.ENIID != "" {
			p.removed++
			fmt.Fprintln(p.out, v1alpha1.Printable(title(e)+": deleted"))
		}
	}
	p.left = report.ENIs
}

// title names an ENI for people.
func title(e v1alpha1.ENIState) string {
	parts := []string{e.ENIID, "of NodeENI", e.NodeENI}
	if e.ENIID == "" {
		parts = []string{"an ENI in", e.SubnetID, "of NodeENI", e.NodeENI}
	}
	return strings.Join(parts, " ")
}
