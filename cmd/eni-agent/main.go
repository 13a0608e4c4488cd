// Command eni-agent gives the node it runs on the ENIs that NodeENIs ask for.
package main

import (
	"os"

	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const name = "eni-agent"

const usage = `eni-agent gives the node it runs on the ENIs that NodeENIs ask for.

  eni-agent [flags]    serve, until SIGTERM
  eni-agent version    print the version

Flags:
`

func main() {
	os.Exit(program.Main(name, serve, map[string]program.Command{
		"version": program.PrintVersion,
	}))
}
