variable "vpc_id" {
  description = "VPC of the nodes. The agents can use only its subnets and security groups."
  type        = string
}

variable "cluster_id" {
  description = "Cluster name, which is the value of the ENIs' tag networking.k8s.aws/cluster: the UID of the namespace kube-system, or the value of --cluster-name."
  type        = string
}

variable "agent_credentials" {
  description = "Source of the agent's credentials: instance-profile (restricted to its own instance) or pod-role (IRSA or Pod Identity; weaker)."
  type        = string
  default     = "instance-profile"

  validation {
    condition     = contains(["instance-profile", "pod-role"], var.agent_credentials)
    error_message = "agent_credentials must be instance-profile or pod-role."
  }
}

variable "standalone" {
  description = "Whether the agents are standalone. They also detach and delete their own ENIs, and no coordinator exists."
  type        = bool
  default     = false
}

variable "kubernetes_cluster_name" {
  description = "NAME in the tag kubernetes.io/cluster/NAME of the nodes' instances. Required with agent_credentials = \"pod-role\"."
  type        = string
  default     = ""
}

variable "tag_keys" {
  description = "Tag keys that NodeENIs may use in spec.tags. * stands for any text."
  type        = list(string)
  default     = []
}

variable "name_prefix" {
  description = "Prefix of the policies' names. Two clusters in one account need different prefixes."
  type        = string
  default     = "aws-multi-eni-"
}

variable "agent_role_names" {
  description = "Roles to attach the agent's policy to: the roles of the nodes, or the agent's own role with pod-role."
  type        = list(string)
  default     = []
}

variable "coordinator_role_names" {
  description = "Roles to attach the coordinator's policy to. Do not use a role of the nodes, because every agent would also have its permissions."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of the policies."
  type        = map(string)
  default     = {}
}
