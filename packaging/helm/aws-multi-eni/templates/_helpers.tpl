{{/* The labels that the chart adds to every object. */}}
{{- define "aws-multi-eni.labels" -}}
app.kubernetes.io/name: aws-multi-eni
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "aws-multi-eni.agent.selector" -}}
app.kubernetes.io/name: aws-multi-eni
app.kubernetes.io/component: agent
{{- end }}

{{- define "aws-multi-eni.coordinator.selector" -}}
app.kubernetes.io/name: aws-multi-eni
app.kubernetes.io/component: coordinator
{{- end }}

{{/* A ServiceAccount's name: dict "root" $ "of" "agent" "values" .Values.eniManager */}}
{{- define "aws-multi-eni.account" -}}
{{- .values.serviceAccount.name | default (printf "%s-%s" (.root.Values.serviceAccount.name | default "eni") .of) }}
{{- end }}

{{- define "aws-multi-eni.agent.account" -}}
{{- include "aws-multi-eni.account" (dict "root" . "of" "agent" "values" .Values.eniManager) }}
{{- end }}

{{- define "aws-multi-eni.coordinator.account" -}}
{{- include "aws-multi-eni.account" (dict "root" . "of" "coordinator" "values" .Values.controller) }}
{{- end }}

{{/* An image: dict "root" $ "of" "agent" "image" .Values.eniManager.image */}}
{{- define "aws-multi-eni.image" -}}
{{- $shared := .root.Values.image }}
{{- $repository := .image.repository | default (printf "%s/eni-%s" (trimSuffix "/" $shared.repository) .of) }}
{{- if .image.digest }}
{{- printf "%s@%s" $repository .image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (.image.tag | default $shared.tag | default .root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "aws-multi-eni.agent.image" -}}
{{- include "aws-multi-eni.image" (dict "root" . "of" "agent" "image" .Values.eniManager.image) }}
{{- end }}

{{- define "aws-multi-eni.coordinator.image" -}}
{{- include "aws-multi-eni.image" (dict "root" . "of" "coordinator" "image" .Values.controller.image) }}
{{- end }}

{{/* Flags of both programs, without those that have the default value. */}}
{{- define "aws-multi-eni.args" -}}
{{- with .Values.clusterName }}
- --cluster-name={{ . }}
{{- end }}
{{- if ne .Values.logLevel "info" }}
- --log-level={{ .Values.logLevel }}
{{- end }}
{{- if ne .Values.logFormat "text" }}
- --log-format={{ .Values.logFormat }}
{{- end }}
{{- end }}

{{/* An update strategy. Only the type RollingUpdate has rollingUpdate. */}}
{{- define "aws-multi-eni.strategy" -}}
{{- if eq (.type | default "RollingUpdate") "RollingUpdate" }}{{ toYaml . }}{{ else }}{{ omit . "rollingUpdate" | toYaml }}{{ end }}
{{- end }}

{{/* Whether agents need permission to patch Nodes. */}}
{{- define "aws-multi-eni.patchesNodes" -}}
{{- if or .Values.nodeReadiness.startupTaint .Values.nodeReadiness.labels }}yes{{ end }}
{{- end }}

{{/* Directories that agents share with the CNI plugin and the pods of the node. */}}
{{- define "aws-multi-eni.pods.volumes" -}}
{{- with .Values.pods }}
{{- if .enabled }}
- name: cni-bin
  hostPath:
    path: {{ .cniBinDir }}
    type: Directory
- name: pod-networks
  hostPath:
    path: /run/eni-agent/pods
    type: DirectoryOrCreate
- name: pod-attachments
  hostPath:
    path: /var/lib/eni-agent/pods
    type: DirectoryOrCreate
{{- end }}
{{- end }}
{{- with .Values.onDemand }}
{{- if .enabled }}
- name: claim-networks
  hostPath:
    path: /run/eni-agent/claims
    type: DirectoryOrCreate
- name: claim-attachments
  hostPath:
    path: /var/lib/eni-agent/claims
    type: DirectoryOrCreate
{{- end }}
{{- end }}
{{- if or .Values.pods.enabled .Values.onDemand.enabled }}
- name: netns
  hostPath:
    path: /var/run/netns # on Talos /var/run is not /run
    type: DirectoryOrCreate
{{- end }}
{{- with .Values.onDemand }}
{{- if .enabled }}
- name: nri
  hostPath:
    path: /var/run/nri # the directory, because the runtime makes a new socket when it restarts
    type: DirectoryOrCreate
- name: kubelet-plugin
  hostPath:
    path: {{ .kubeletDir }}/plugins/eni.networking.k8s.aws
    type: DirectoryOrCreate
- name: kubelet-registry
  hostPath:
    path: {{ .kubeletDir }}/plugins_registry
    type: Directory
- name: sysctl-net
  hostPath:
    path: /proc/sys/net
    type: Directory
{{- end }}
{{- end }}
{{- end }}

{{- define "aws-multi-eni.pods.volumeMounts" -}}
{{- with .Values.pods }}
{{- if .enabled }}
- name: cni-bin # for eni-agent doctor
  mountPath: {{ .cniBinDir }}
  readOnly: true
- name: pod-networks
  mountPath: /run/eni-agent/pods
- name: pod-attachments
  mountPath: /var/lib/eni-agent/pods
{{- end }}
{{- end }}
{{- if .Values.onDemand.enabled }}
- name: claim-networks
  mountPath: /run/eni-agent/claims
- name: claim-attachments
  mountPath: /var/lib/eni-agent/claims
  readOnly: true
{{- end }}
{{- /* The agent detects by the network namespaces which pods have ended. Container runtimes
use either path. */}}
{{- if or .Values.pods.enabled .Values.onDemand.enabled }}
- name: netns
  mountPath: /run/netns
  readOnly: true
- name: netns
  mountPath: /var/run/netns
  readOnly: true
{{- end }}
{{- end }}

{{/* The security context of containers that need no capabilities. */}}
{{- define "aws-multi-eni.restricted" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "aws-multi-eni.nonroot" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "aws-multi-eni.probes" -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: http
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/* Annotations of the objects that exist only during an uninstall. */}}
{{- define "aws-multi-eni.hook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
argocd.argoproj.io/hook: Skip
{{- end }}

{{/*
Replaces values that are null, or were removed with null: settings with their defaults
from values.yaml, of which files/values.yaml is a copy, and lists and maps of the user with
empty ones. Every template of this chart starts with it, because each may be the first.
*/}}
{{- define "aws-multi-eni.defaults" -}}
{{- include "aws-multi-eni.fill" (dict "values" .Values "defaults" (.Files.Get "files/values.yaml" | fromYaml)) }}
{{- end }}

{{- define "aws-multi-eni.fill" -}}
{{- $users := list "affinity" "annotations" "labels" "nodeSelector" "podAnnotations" "podLabels" "resources" "updateStrategy" }}
{{- range $name, $default := .defaults }}
{{- $isMap := kindIs "map" $default }}
{{- if kindIs "invalid" (index $.values $name) }}
{{- $_ := set $.values $name ($isMap | ternary (dict) (kindIs "slice" $default | ternary (list) $default)) }}
{{- end }}
{{- if and $isMap (not (has $name $users)) }}
{{- include "aws-multi-eni.fill" (dict "values" (index $.values $name) "defaults" $default) }}
{{- end }}
{{- end }}
{{- end }}
