{{/* Everything is called istmo: the CLI looks for these names, and there is one site to a namespace. */}}
{{- define "istmo.selector" -}}
app.kubernetes.io/name: istmo
{{- end }}

{{- define "istmo.labels" -}}
{{ include "istmo.selector" . }}
app.kubernetes.io/managed-by: istmo
{{- end }}

{{- define "istmo.site" -}}
{{ .Values.siteName | default .Release.Namespace }}
{{- end }}

{{/* As `istmo init --ingress` chooses. */}}
{{- define "istmo.serviceType" -}}
{{ dict "default" "LoadBalancer" "loadbalancer" "LoadBalancer" "nodeport" "NodePort" | dig .Values.linkAccess "ClusterIP" }}
{{- end }}
