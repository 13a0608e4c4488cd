//go:build tools

// Package tools pins the runc that the tests with a kubelet run.
package tools

import _ "github.com/opencontainers/runc"
