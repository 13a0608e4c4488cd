# IAM, EKS Pod Identity, and the Helm release of aws-multi-eni for an existing EKS cluster.

provider "aws" {
  region = var.region
}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

data "aws_eks_cluster_auth" "this" {
  name = var.cluster_name
}

provider "kubernetes" {
  host                   = data.aws_eks_cluster.this.endpoint
  cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
  token                  = data.aws_eks_cluster_auth.this.token
}

provider "helm" {
  kubernetes = {
    host                   = data.aws_eks_cluster.this.endpoint
    cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
    token                  = data.aws_eks_cluster_auth.this.token
  }
}

# The UID of this namespace is the cluster name that marks the ENIs of this cluster.
data "kubernetes_namespace_v1" "kube_system" {
  metadata {
    name = "kube-system"
  }
}

# The coordinator's role, which its pods assume with EKS Pod Identity.
resource "aws_iam_role" "coordinator" {
  name = "${var.cluster_name}-eni-coordinator"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
    }]
  })
}

# The policies of both programs, attached to the nodes' roles and the coordinator's role.
module "policies" {
  source = "../../packaging/iam/terraform"

  vpc_id                 = data.aws_eks_cluster.this.vpc_config[0].vpc_id
  cluster_id             = data.kubernetes_namespace_v1.kube_system.metadata[0].uid
  name_prefix            = "${var.cluster_name}-eni-"
  agent_role_names       = var.node_role_names
  coordinator_role_names = [aws_iam_role.coordinator.name]
  tag_keys               = var.tag_keys
}

resource "aws_eks_addon" "pod_identity" {
  count = var.install_pod_identity_agent ? 1 : 0

  cluster_name = var.cluster_name
  addon_name   = "eks-pod-identity-agent"
}

resource "aws_eks_pod_identity_association" "coordinator" {
  cluster_name    = var.cluster_name
  namespace       = "eni-system"
  service_account = "eni-coordinator"
  role_arn        = aws_iam_role.coordinator.arn
}

resource "helm_release" "aws_multi_eni" {
  name             = "eni"
  repository       = "oci://ghcr.io/aws-multi-eni/charts"
  chart            = "aws-multi-eni"
  version          = var.chart_version
  namespace        = "eni-system"
  create_namespace = true
  values           = [file("${path.module}/values.yaml")]

  # The pods get their credentials when they start, so the association comes first. At
  # `terraform destroy` it is removed last: the coordinator needs its rights to delete the ENIs.
  depends_on = [
    module.policies,
    aws_eks_addon.pod_identity,
    aws_eks_pod_identity_association.coordinator,
  ]
}
