package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
)

// status is the command.
type status struct {
	output, node, selector string
	watch                  bool
}

func statusFlags(flags *pflag.FlagSet) func(context.Context, *access, []string, IO) (int, error) {
	var s status
	flags.StringVarP(&s.output, "output", "o", "", "output format: wide (adds all ENIs), json, yaml, or name (only the nodes that are not Ready)")
	flags.StringVar(&s.node, "node", "", "show only this node")
	flags.StringVarP(&s.selector, "selector", "l", "", "show only nodes with these labels")
	flags.BoolVarP(&s.watch, "watch", "w", false, "show changes until you interrupt it")
	return s.run
}

func (s *status) run(ctx context.Context, a *access, args []string, io IO) (int, error) {
	if err := checkOutput(s.output, "wide", "json", "yaml", "name"); err != nil {
		return exitUsage, err
	}
	selector, err := labels.Parse(s.selector)
	if err != nil {
		return exitUsage, usageError{fmt.Sprintf("-l %s: %v", s.selector, err)}
	}
	c, err := a.connect()
	if err != nil {
		return exitUnreadable, err
	}
	filter := diagnose.Filter{NodeENIs: args, Node: s.node, Labels: selector}
	if s.watch {
		return s.follow(ctx, c, filter, io)
	}
	_, code, err := s.show(ctx, c, filter, io)
	return code, err
}

// show reads and prints once.
func (s *status) show(ctx context.Context, c *client, filter diagnose.Filter, io IO) (*reading, int, error) {
	r, err := c.read(ctx)
	if err != nil {
		return r, exitUnreadable, err
	}
	if len(r.snapshot.Absent) > 0 {
		e, err := diagnose.Explain(&r.snapshot)
		if s.output == "json" || s.output == "yaml" {
			return r, exitNotReady, errors.Join(err, encode(io.Out, s.output, e))
		}
		if s.output == "name" { // whoever reads names gets none
			io.Out = io.Err
		}
		diagnose.Printer{Out: io.Out, Color: io.Color}.Explanation(e)
		return r, exitNotReady, err
	}
	fleet, err := diagnose.StatusOf(&r.snapshot, filter)
	if err != nil {
		return r, exitUnreadable, err // but a wrong name is wrong usage
	}
	code := exitReady
	if !fleet.Ready {
		code = exitNotReady
	}
	return r, code, s.print(fleet, io)
}

func (s *status) print(fleet diagnose.Fleet, io IO) error {
	switch s.output {
	case "json", "yaml":
		return encode(io.Out, s.output, struct {
			diagnose.Fleet
			ENIs []diagnose.ENI `json:"enis"`
		}{fleet, fleet.ENIs()})
	case "name":
		for _, node := range fleet.NotReadyNodes() {
			fmt.Fprintln(io.Out, "node/"+node)
		}
	default:
		diagnose.Printer{Out: io.Out, Color: io.Color}.Fleet(fleet, s.output == "wide")
	}
	return nil
}

// encode writes for programs.
func encode(w io.Writer, format string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err == nil && format == "yaml" {
		data, err = yaml.JSONToYAML(data)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(append(bytes.TrimRight(data, "\n"), '\n'))
	return err
}

const (
	// settle is how long changes are gathered before everything is read again.
	settle = 2 * time.Second
	// reread is when it is read again without a change: pods and Leases are not watched.
	reread = 30 * time.Second
)

// follow prints again whenever something has changed.
func (s *status) follow(ctx context.Context, c *client, filter diagnose.Filter, out IO) (int, error) {
	changed := make(chan struct{}, 1)
	last, watching := "", false
	for {
		var text bytes.Buffer
		r, code, err := s.show(ctx, c, filter, IO{Out: &text, Err: out.Err, Color: out.Color})
		if err != nil || ctx.Err() != nil {
			return code, err
		}
		if text.String() != last {
			last = text.String()
			if out.Terminal {
				fmt.Fprint(out.Out, "\x1b[H\x1b[2J")
			}
			fmt.Fprintf(out.Out, "%s\n\n%s\n", time.Now().Format(time.TimeOnly), last)
		}
		if !watching {
			watching = true
			for _, path := range []string{nodeENIsPath, statesPath} {
				go c.changes(ctx, path, r.versions[path], changed)
			}
		}
		if !pause(ctx, changed) {
			return code, nil
		}
	}
}

// pause waits for a change, and then until changes have settled. It returns false when ctx
// ends.
func pause(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(reread):
		return true
	case <-changed:
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(settle):
	}
	select {
	case <-changed:
	default:
	}
	return true
}
