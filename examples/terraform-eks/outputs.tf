output "coordinator_role_arn" {
  description = "ARN of the coordinator's role."
  value       = aws_iam_role.coordinator.arn
}

output "agent_policy_arn" {
  description = "ARN of the policy that is attached to the nodes' roles."
  value       = module.policies.agent_policy_arn
}
