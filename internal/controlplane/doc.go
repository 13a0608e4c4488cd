// Package controlplane runs a real etcd and kube-apiserver on this machine, for
// tests and for the demo, by controller-runtime's envtest. It adds what envtest
// lacks: tokens of ServiceAccounts, manifests of any kind, an API server and an etcd
// that can be killed, frozen and restored, and processes that never outlive their
// parent. The API server has the Node and RBAC authorizers, the default admission
// plugins (ValidatingAdmissionPolicy among them) and NodeRestriction.
//
// There is no kube-controller-manager, no scheduler and no kubelet. So nobody
// collects objects whose owner is gone, nobody empties a namespace that is being
// deleted, nobody makes a "default" ServiceAccount or a kube-root-ca.crt
// ConfigMap in a new namespace (and without a ServiceAccount no Pod is
// admitted), and Nodes are there only if a test creates them.
//
// The binaries are those of KUBEBUILDER_ASSETS, or are built from source, once, by
// `make controlplane`.
package controlplane
