variable "vpc_id" {
  description = "VPC of the nodes. Only subnets and security groups of it may be used."
  type        = string
}

variable "cluster_id" {
  description = "Value of the ENIs' cluster tag: the UID of the namespace kube-system, or what --cluster-name says."
  type        = string
}

variable "agent_credentials" {
  description = "Where the agent has its credentials from: instance-profile (confined to its own instance) or pod-role (IRSA, Pod Identity; weaker)."
  type        = string
  default     = "instance-profile"

  validation {
    condition     = contains(["instance-profile", "pod-role"], var.agent_credentials)
    error_message = "agent_credentials must be instance-profile or pod-role."
  }
}

variable "standalone" {
  description = "The agent runs without Kubernetes and also detaches and deletes its own ENIs. There is no coordinator then."
  type        = bool
  default     = false
}

variable "kubernetes_cluster_name" {
  description = "NAME in the tag kubernetes.io/cluster/NAME of the nodes' instances. Needed with agent_credentials = \"pod-role\"."
  type        = string
  default     = ""
}

variable "tag_keys" {
  description = "Keys that NodeENIs may have in spec.tags. * stands for any text."
  type        = list(string)
  default     = []
}

variable "name_prefix" {
  description = "Begins the policies' names. Two clusters in one account need two."
  type        = string
  default     = "aws-multi-eni-"
}

variable "agent_role_names" {
  description = "Roles that get the agent's policy: the nodes' roles, or the agent's own with pod-role."
  type        = list(string)
  default     = []
}

variable "coordinator_role_names" {
  description = "Roles that get the coordinator's policy. Never a role of the nodes: every agent would have it too."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of the policies."
  type        = map(string)
  default     = {}
}
