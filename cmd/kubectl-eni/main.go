// Command kubectl-eni is the kubectl plugin `kubectl eni`: status, why, doctor, bundle.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kubectl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := kubectl.Main(ctx, os.Args[1:], kubectl.Stdio())
	stop()
	os.Exit(code)
}
