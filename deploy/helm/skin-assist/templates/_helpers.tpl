{{- define "skin-assist.labels" -}}
app.kubernetes.io/name: skin-assist
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "skin-assist.selector" -}}
app.kubernetes.io/name: skin-assist
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "skin-assist.name" -}}
{{- printf "%s-skin-assist" .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end }}
