{{- define "atlas-budget.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "atlas-budget.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{/* Every template begins with them, so what contradicts itself is refused before anything else goes wrong. */}}
{{- define "atlas-budget.common-labels" -}}
{{- include "atlas-budget.validate" . -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "atlas-budget.labels" -}}
{{ include "atlas-budget.common-labels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "atlas-budget.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "atlas-budget.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "atlas-budget.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "atlas-budget.host" -}}
{{- ternary "[::]" "0.0.0.0" (eq .Values.bindAddress "::") -}}
{{- end -}}

{{/* What every pod of this chart has in common: server, migration, test. */}}
{{- define "atlas-budget.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- if .Values.runAsUser }}
  fsGroup: {{ .Values.runAsUser }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What every container of this chart has in common. */}}
{{- define "atlas-budget.container" -}}
image: {{ include "atlas-budget.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  {{- if .Values.runAsUser }}
  runAsUser: {{ .Values.runAsUser }}
  runAsGroup: {{ .Values.runAsUser }}
  {{- end }}
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "atlas-budget.env" -}}
- name: ATLAS_BUDGET_DATABASE
  {{- if eq .Values.database.kind "postgresql" }}
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.postgresql.url.secret }}
      key: {{ .Values.database.postgresql.url.key }}
  {{- else }}
  value: sqlite:///var/lib/atlas/ledger.db
  {{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Refuses what contradicts itself, in words that say what to write instead. */}}
{{- define "atlas-budget.validate" -}}
{{- with .Values -}}
{{- if and (eq .database.kind "postgresql") (not .database.postgresql.url) -}}
{{- fail "atlas-budget: database.kind postgresql needs database.postgresql.url; make a Secret with the URL and set it, such as {secret: budget-database, key: url}" -}}
{{- end -}}
{{- if and (eq .database.kind "sqlite") .database.postgresql.url -}}
{{- fail "atlas-budget: database.postgresql.url is set, but database.kind is sqlite; set database.kind: postgresql" -}}
{{- end -}}
{{- if and (eq .database.kind "sqlite") (or (gt (int .replicas) 1) .autoscaling.enabled) -}}
{{- fail "atlas-budget: SQLite has room for one replica; set database.kind: postgresql, or replicas: 1 and autoscaling.enabled: false" -}}
{{- end -}}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) -}}
{{- fail "atlas-budget: autoscaling.minReplicas is above maxReplicas" -}}
{{- end -}}
{{- if and .insecure (or .tls.secret .tls.clientCa .tokens) -}}
{{- fail "atlas-budget: insecure: true together with tls or tokens; remove one of them" -}}
{{- end -}}
{{- if not .insecure -}}
{{- if not .tls.secret -}}
{{- fail "atlas-budget: no TLS. Make a Secret of type kubernetes.io/tls and set tls.secret, and tokens; or set insecure: true, and let the network policy guard it" -}}
{{- end -}}
{{- if not (or .tokens .tls.clientCa) -}}
{{- fail "atlas-budget: who may call? Set tokens, such as {secret: budget-tokens, key: tokens}, or tls.clientCa" -}}
{{- end -}}
{{- end -}}
{{- if and (ne .monitor.kind "none") (not .metricsPort) -}}
{{- fail "atlas-budget: monitor.kind needs metrics; set metricsPort, such as 9464" -}}
{{- end -}}
{{- if or (eq (int .healthPort) 50061) (eq (int .metricsPort) 50061) (eq (int .healthPort) (int .metricsPort)) -}}
{{- fail "atlas-budget: healthPort, metricsPort and the service's 50061 must differ" -}}
{{- end -}}
{{- end -}}
{{- end -}}
