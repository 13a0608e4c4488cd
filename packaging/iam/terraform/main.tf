data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  agent_policy = var.standalone ? "agent-standalone" : var.agent_credentials == "pod-role" ? "agent-pod-role" : "agent"
}

module "policies" {
  source = "./policies"

  partition               = data.aws_partition.current.partition
  region                  = data.aws_region.current.name
  account_id              = data.aws_caller_identity.current.account_id
  vpc_id                  = var.vpc_id
  cluster_id              = var.cluster_id
  kubernetes_cluster_name = coalesce(var.kubernetes_cluster_name, "KUBERNETES_CLUSTER_NAME")
  tag_keys                = var.tag_keys
}

resource "aws_iam_policy" "agent" {
  name        = "${var.name_prefix}agent"
  description = "Permissions of eni-agent (aws-multi-eni)"
  policy      = module.policies.policies[local.agent_policy]
  tags        = var.tags

  lifecycle {
    precondition {
      condition     = !(var.standalone && var.agent_credentials == "pod-role")
      error_message = "A standalone agent does not run in a pod: set agent_credentials to instance-profile."
    }
    precondition {
      condition     = var.standalone || var.agent_credentials != "pod-role" || var.kubernetes_cluster_name != ""
      error_message = "agent_credentials = \"pod-role\" requires kubernetes_cluster_name."
    }
  }
}

resource "aws_iam_policy" "coordinator" {
  count = var.standalone ? 0 : 1

  name        = "${var.name_prefix}coordinator"
  description = "Permissions of eni-coordinator (aws-multi-eni)"
  policy      = module.policies.policies["coordinator"]
  tags        = var.tags
}

resource "aws_iam_role_policy_attachment" "agent" {
  for_each = toset(var.agent_role_names)

  role       = each.value
  policy_arn = aws_iam_policy.agent.arn
}

resource "aws_iam_role_policy_attachment" "coordinator" {
  for_each = toset(var.standalone ? [] : var.coordinator_role_names)

  role       = each.value
  policy_arn = aws_iam_policy.coordinator[0].arn
}
