// Package controlplane runs a real etcd and kube-apiserver on this machine, for
// tests and for the demo, by controller-runtime's envtest. It adds what envtest
// lacks: tokens of ServiceAccounts, manifests of any kind, an API server and an etcd
// that can be killed, paused and restored, and processes that never outlive their
// parent. The API server has the Node and RBAC authorizers, the default admission
// plugins (ValidatingAdmissionPolicy among them) and NodeRestriction.
//
// There is no kubelet. kube-scheduler and kube-controller-manager are not started
// either; Program tells a testbed that needs them where they are. Without them, objects
// whose owner is gone are not collected, and a namespace that is deleted is not emptied.
// A new namespace gets neither a "default" ServiceAccount (and without a ServiceAccount
// no Pod is admitted) nor a kube-root-ca.crt ConfigMap. Nodes exist only if a test
// creates them.
//
// The binaries are those of KUBEBUILDER_ASSETS, or are built from source, once, by
// `make controlplane`.
package controlplane
