# Replaces the placeholders in the policies of packaging/iam. It does not need a provider, so
# you can plan it without an account.

locals {
  tag_keys = join("", [for key in var.tag_keys : ", ${jsonencode(key)}"])

  policies = {
    for name in ["agent", "agent-pod-role", "agent-standalone", "coordinator", "administrator-adopt"] :
    name => jsonencode(jsondecode(
      replace(
        replace(
          replace(
            replace(
              replace(
                replace(
                  replace(
                    file("${path.module}/../../${name}.json"),
                    ", \"USER_TAG_KEYS\"", local.tag_keys
                  ),
                  "KUBERNETES_CLUSTER_NAME", var.kubernetes_cluster_name
                ),
                "CLUSTER_ID", var.cluster_id
              ),
              "VPC_ID", var.vpc_id
            ),
            "ACCOUNT_ID", var.account_id
          ),
          "REGION", var.region
        ),
        "PARTITION", var.partition
      )
    ))
  }
}

output "policies" {
  description = "The policies as JSON, by name."
  value       = local.policies
}
