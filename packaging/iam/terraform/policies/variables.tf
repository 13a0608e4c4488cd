variable "partition" {
  description = "Partition of the account: aws, aws-us-gov or aws-cn."
  type        = string
}

variable "region" {
  description = "Region of the nodes."
  type        = string
}

variable "account_id" {
  description = "Account of the nodes."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the nodes. The agents can use only its subnets and security groups."
  type        = string

  validation {
    condition     = can(regex("^vpc-[0-9a-f]{8,17}$", var.vpc_id))
    error_message = "vpc_id must be the id of a VPC, such as vpc-0123456789abcdef0."
  }
}

variable "cluster_id" {
  description = "Cluster name, which is the value of the ENIs' tag networking.k8s.aws/cluster: the UID of the namespace kube-system, or the value of --cluster-name."
  type        = string

  validation {
    condition     = can(regex("^[^\"*?$\\\\]+$", var.cluster_id))
    error_message = "cluster_id must not be empty and not hold quotes, backslashes, *, ? or $."
  }
}

variable "kubernetes_cluster_name" {
  description = "NAME in the tag kubernetes.io/cluster/NAME of the nodes' instances. Only the policy agent-pod-role uses it."
  type        = string
  default     = "KUBERNETES_CLUSTER_NAME"
}

variable "tag_keys" {
  description = "Tag keys that NodeENIs may use in spec.tags. * stands for any text."
  type        = list(string)
  default     = []
}
