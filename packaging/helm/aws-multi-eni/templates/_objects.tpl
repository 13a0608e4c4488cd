{{/*
The objects of a copy of a file of manifests/, with the namespace and the ServiceAccounts of
this release: dict "root" $ "file" "rbac/agent.yaml" "account" NAME. ServiceAccounts are
left out, because they have their own values.
*/}}
{{- define "aws-multi-eni.objects" -}}
{{- $namespace := .root.Release.Namespace }}
{{- $account := .account }}
{{- $text := .root.Files.Get (printf "files/%s" .file) }}
{{- /* Replace the names in the expressions and messages of the policies. */}}
{{- $agent := include "aws-multi-eni.agent.account" .root }}
{{- $text = $text | replace "eni-system:eni-agent" (printf "%s:%s" $namespace $agent) }}
{{- $text = $text | replace "eni-system:eni-coordinator" (printf "%s:%s" $namespace (include "aws-multi-eni.coordinator.account" .root)) }}
{{- $text = $text | replace "eni-system/eni-agent" (printf "%s/%s" $namespace $agent) }}
{{- $text = regexReplaceAll `token eni-agent\s+-n eni-system` $text (printf "token %s -n %s" $agent $namespace) }}
{{- $labels := include "aws-multi-eni.labels" .root }}
{{- range $document := regexSplit `(?m)^---$` $text -1 }}
{{- $object := fromYaml $document }}
{{- if ne $object.kind "ServiceAccount" }}
{{- $_ := set $object.metadata "labels" (fromYaml $labels) }}
{{- if $object.metadata.namespace }}
{{- $_ := set $object.metadata "namespace" $namespace }}
{{- end }}
{{- range $subject := $object.subjects }}
{{- $_ := set $subject "name" $account }}
{{- $_ := set $subject "namespace" $namespace }}
{{- end }}
---
{{ toYaml $object }}
{{ end }}
{{- end }}
{{- end }}
