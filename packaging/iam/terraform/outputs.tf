output "agent_policy_arn" {
  description = "ARN of the agent's policy."
  value       = aws_iam_policy.agent.arn
}

output "coordinator_policy_arn" {
  description = "ARN of the coordinator's policy; null if standalone is true."
  value       = one(aws_iam_policy.coordinator[*].arn)
}

output "policies" {
  description = "All policies as JSON, by name: agent, agent-pod-role, agent-standalone, coordinator, administrator-adopt."
  value       = module.policies.policies
}
