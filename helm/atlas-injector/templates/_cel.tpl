{{/*
A value as a CEL expression: {value, type}, where type is the path of its schema, such as Object.spec.volumes.
Objects become typed literals, since CEL wants the values of a plain map to be of one type; amounts are such maps.
*/}}
{{- define "atlas-injector.cel" -}}
{{- $type := .type -}}
{{- $value := .value -}}
{{- if kindIs "map" $value -}}
{{- $plain := or (hasSuffix ".requests" $type) (hasSuffix ".limits" $type) -}}
{{- $fields := list -}}
{{- range $name, $each := $value -}}
{{- $inner := include "atlas-injector.cel" (dict "value" $each "type" (printf "%s.%s" $type $name)) -}}
{{- $fields = append $fields (printf "%s: %s" (ternary ($name | toJson) $name $plain) $inner) -}}
{{- end -}}
{{ ternary "" $type $plain }}{ {{- join ", " $fields -}} }
{{- else if kindIs "slice" $value -}}
{{- $items := list -}}
{{- range $value -}}
{{- $items = append $items (include "atlas-injector.cel" (dict "value" . "type" $type)) -}}
{{- end -}}
[{{ join ", " $items }}]
{{- else if kindIs "string" $value -}}
{{ $value | toRawJson }}
{{- else if kindIs "bool" $value -}}
{{ $value }}
{{- else if kindIs "invalid" $value -}}
null
{{- else -}}
{{ int64 $value }}
{{- end -}}
{{- end -}}
