// Package cloud simulates one AWS account in one Region, as far as network
// interfaces are concerned: subnets, security groups, instances, ENIs and what
// EC2 and the instance metadata service say about them.
//
// It holds state and rules and speaks no protocol: package query puts the EC2
// Query API in front of it, package metadata the IMDS. Its methods fall in
// three groups:
//
//   - the actions of the EC2 API (CreateNetworkInterface and so on), which
//     answer with EC2's own error codes as *Error;
//   - Do, which carries out such an action as an API call: throttled, delayed,
//     hit by injected faults and logged;
//   - the truth for tests and for the console of an operator (Interfaces,
//     Instances, DetachByHand and so on), which is neither lagged nor logged.
//
// Values handed out share maps and slices with the state and with each other;
// they are never changed once handed out, and callers must not change them.
package cloud
