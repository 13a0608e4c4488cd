package kubectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
)

func doctorFlags(*pflag.FlagSet) func(context.Context, *access, []string, IO) (int, error) {
	return func(ctx context.Context, a *access, args []string, io IO) (int, error) {
		c, err := a.connect()
		if err != nil {
			return exitUnreadable, err
		}
		r, err := c.read(ctx)
		if err != nil {
			return exitUnreadable, err
		}
		node := strings.TrimPrefix(args[0], "node/")
		pod, err := r.agentOn(node)
		if err != nil {
			return exitUnreadable, r.withoutExec(err, node, nil)
		}
		out, errOut := &printable{to: io.Out}, &printable{to: io.Err}
		code, err := c.exec(ctx, pod, doctorCommand(pod, args[1:]), out, errOut)
		if err = errors.Join(err, out.flush(), errOut.flush()); err != nil {
			return exitUnreadable, r.withoutExec(err, node, &pod.Spec)
		}
		return code, nil
	}
}

// doctorCommand is the doctor with the flags of the agent, and those that were asked for. A
// flag with a variable is that of the address that the agent serves at.
func doctorCommand(pod *corev1.Pod, args []string) []string {
	command := []string{"/eni-agent", "doctor"}
	for _, c := range pod.Spec.Containers {
		if c.Name != diagnose.AgentContainer {
			continue
		}
		for _, arg := range c.Args {
			if !strings.Contains(arg, "$(") {
				command = append(command, arg)
			}
		}
	}
	return append(command, args...)
}

// withoutExec adds to an error how to run the doctor in another way, with the image of the
// agent's pod or else of the DaemonSet.
func (r *reading) withoutExec(err error, node string, spec *corev1.PodSpec) error {
	if errors.As(err, new(*diagnose.NameError)) {
		return err
	}
	if spec == nil && len(r.snapshot.DaemonSets) > 0 {
		spec = &r.snapshot.DaemonSets[0].Spec.Template.Spec
	}
	image := "ghcr.io/aws-multi-eni/eni-agent:VERSION"
	if spec != nil {
		for _, c := range spec.Containers {
			if c.Name == diagnose.AgentContainer {
				image = c.Image
			}
		}
	}
	return fmt.Errorf("%w\nOther ways to run the doctor: \"kubectl debug node/%s --image=%s --profile=sysadmin -it -- /eni-agent doctor --host-root /host\", "+
		"or \"eni-agent doctor\" in a shell on the node (SSM Session Manager, SSH)", err, node, image)
}

// exec runs a command in the agent's container, and returns its exit code.
func (c *client) exec(ctx context.Context, pod *corev1.Pod, command []string, out, errOut io.Writer) (int, error) {
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/exec", url.PathEscape(pod.Namespace), url.PathEscape(pod.Name))
	request := c.rest.Get().AbsPath(path).Param("container", diagnose.AgentContainer).Param("stdout", "true").Param("stderr", "true")
	for _, word := range command {
		request.Param("command", word)
	}
	to := request.URL()
	websocket, err := remotecommand.NewWebSocketExecutor(c.config, "GET", to.String())
	if err != nil {
		return 0, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, "POST", to)
	if err != nil {
		return 0, err
	}
	executor, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return 0, err
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: errOut})
	var ended exec.CodeExitError
	switch {
	case errors.As(err, &ended):
		return ended.Code, nil
	case err != nil && (apierrors.IsForbidden(err) || strings.Contains(err.Error(), "is forbidden: ")): // of an upgrade, only the text is left
		return 0, &refusal{fmt.Sprintf("you do not have permission to run commands in the agent's pod (create pods/exec in namespace %s)", pod.Namespace), err}
	case err != nil:
		return 0, fmt.Errorf("running the doctor in pod %s: %w", pod.Name, err)
	}
	return 0, nil
}

// printable makes what a program on a node writes safe for a terminal, line by line.
type printable struct {
	to   io.Writer
	rest []byte
}

// longest is how long a line may be.
const longest = 64 << 10

func (p *printable) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	for {
		i := strings.IndexByte(string(p.rest), '\n')
		if i < 0 && len(p.rest) < longest {
			return len(data), nil
		}
		if i < 0 {
			i = longest - 1
		}
		if _, err := fmt.Fprintln(p.to, v1alpha1.Printable(string(p.rest[:i]))); err != nil {
			return 0, err
		}
		p.rest = p.rest[i+1:]
	}
}

func (p *printable) flush() error {
	if len(p.rest) == 0 {
		return nil
	}
	_, err := p.Write([]byte("\n"))
	return err
}
