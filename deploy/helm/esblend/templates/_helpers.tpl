{{- define "esblend.labels" -}}
app.kubernetes.io/name: esblend
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "esblend.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - configMapRef:
      name: {{ .Release.Name }}
securityContext:
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "esblend.apiKey" -}}
- name: ESBLEND_ES_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.secret.name }}
      key: {{ .Values.secret.apiKeyKey }}
{{- end }}

{{- define "esblend.volumes" -}}
- name: models
{{- if .Values.models.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.models.existingClaim }}
{{- else }}
  emptyDir: {}
{{- end }}
- name: cache
  emptyDir: {}
{{- end }}

{{/* The names that pods of this and of other namespaces use for the gateway's service. */}}
{{- define "esblend.serviceNames" -}}
{{- $name := printf "%s-gateway" .Release.Name -}}
{{- $full := printf "%s.%s" $name .Release.Namespace -}}
{{- list $name $full (printf "%s.svc" $full) (printf "%s.svc.cluster.local" $full) | join "," -}}
{{- end }}
