variable "region" {
  description = "Region of the cluster and its nodes."
  type        = string
}

variable "cluster_name" {
  description = "Name of the EKS cluster."
  type        = string
}

variable "node_role_names" {
  description = "IAM roles of the nodes that get ENIs: names, not ARNs."
  type        = list(string)
}

variable "install_pod_identity_agent" {
  description = "Install the add-on eks-pod-identity-agent. Set it to false if the cluster has the add-on."
  type        = bool
  default     = true
}

variable "chart_version" {
  description = "Version of the Helm chart."
  type        = string
  default     = "0.1.0"
}

variable "tag_keys" {
  description = "Keys that NodeENIs may have in spec.tags. * stands for any text."
  type        = list(string)
  default     = []
}
