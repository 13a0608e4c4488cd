// Package controlplane runs a real etcd and kube-apiserver on this machine, for
// tests and for the demo. It has its own CA, the Node and RBAC authorizers, the
// default admission plugins (ValidatingAdmissionPolicy among them) and
// NodeRestriction, and it signs ServiceAccount tokens.
//
// There is no kube-controller-manager, no scheduler and no kubelet. So nobody
// collects objects whose owner is gone, nobody empties a namespace that is being
// deleted, nobody makes a "default" ServiceAccount or a kube-root-ca.crt
// ConfigMap in a new namespace (and without a ServiceAccount no Pod is
// admitted), and Nodes are there only if a test creates them.
//
// The binaries are built from source, once, by `make controlplane`.
package controlplane
