//go:build tools

// Package tools pins the oldest kube-apiserver that is supported, for make test-compat.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
