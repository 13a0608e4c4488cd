package controlplane

import (
	"net"
	"strconv"
)

// etcd speaks through unix sockets in the control plane's directory, which is
// the working directory of both processes: no port to race for, and no length
// limit on the directory's path.
const (
	etcdClientSocket = "client.sock:1"
	etcdPeerSocket   = "peer.sock:1"
)

const serviceAccountIssuer = "https://kubernetes.default.svc"

func etcdArgs() []string {
	return []string{
		"--data-dir=" + etcdData,
		"--listen-client-urls=unix://" + etcdClientSocket,
		"--advertise-client-urls=unix://" + etcdClientSocket,
		"--listen-peer-urls=unix://" + etcdPeerSocket,
		"--initial-advertise-peer-urls=unix://" + etcdPeerSocket,
		"--initial-cluster=default=unix://" + etcdPeerSocket,
		"--unsafe-no-fsync", // nothing here outlives the machine
		"--log-level=warn",
	}
}

func apiserverArgs(bind net.IP, port int) []string {
	return []string{
		"--etcd-servers=unix://" + etcdClientSocket,
		"--bind-address=" + bind.String(),
		"--secure-port=" + strconv.Itoa(port),
		"--permit-port-sharing", // with the reservation of the port
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // an endpoint must not be on loopback
		"--service-cluster-ip-range=10.96.0.0/16",
		"--client-ca-file=" + caFile,
		"--tls-cert-file=" + serverCertFile,
		"--tls-private-key-file=" + serverKeyFile,
		"--service-account-issuer=" + serviceAccountIssuer,
		"--service-account-key-file=" + serviceAccountKeyFile,
		"--service-account-signing-key-file=" + serviceAccountKeyFile,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--profiling=false",
	}
}
