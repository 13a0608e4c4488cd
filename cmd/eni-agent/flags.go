package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

type options struct {
	node, cluster, kubeconfig string
	httpAddress               string
	logFormat, logLevel       string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "name of this Node in Kubernetes (default $NODE_NAME)")
	flags.StringVar(&o.cluster, "cluster-name", "", "value of the ENIs' cluster tag; agent and coordinator must agree (default the UID of the namespace kube-system)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	flags.StringVar(&o.httpAddress, "http-address", "", "address for /healthz and /readyz, such as :9480 (default none)")
	flags.StringVar(&o.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0))
	}
	if o.node == "" {
		return o, errors.New("the node's name is not known; set --node-name, or NODE_NAME from the field spec.nodeName")
	}
	return o, nil
}
