package kubectl

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
)

func whyFlags(flags *pflag.FlagSet) func(context.Context, *access, []string, IO) (int, error) {
	output := flags.StringP("output", "o", "", "output format: json or yaml")
	return func(ctx context.Context, a *access, args []string, io IO) (int, error) {
		if err := checkOutput(*output, "json", "yaml"); err != nil {
			return exitUsage, err
		}
		namespace, pod, err := podArgument(args, a.podNamespace())
		if err != nil {
			return exitUsage, err
		}
		c, err := a.connect()
		if err != nil {
			return exitUnreadable, err
		}
		if pod != "" && args[0] == diagnose.PodPrefix+pod {
			c.namespace = "" // the flag names that of the pod
		}
		r, err := c.read(ctx)
		if err == nil && pod != "" {
			err = r.pod(ctx, namespace, pod)
		}
		if err != nil {
			return exitUnreadable, err // but a wrong name is wrong usage
		}
		e, err := diagnose.Explain(&r.snapshot, args...)
		if err != nil {
			return exitUnreadable, err // but a wrong name is wrong usage
		}
		code := exitReady
		if !e.IsReady() {
			code = exitNotReady
		}
		if *output != "" {
			return code, encode(io.Out, *output, e)
		}
		diagnose.Printer{Out: io.Out, Color: io.Color}.Explanation(e)
		return code, nil
	}
}
