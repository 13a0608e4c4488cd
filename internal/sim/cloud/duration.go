package cloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// duration is a time.Duration that is written "1.5s" in JSON.
type duration time.Duration

func (d duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

func (d *duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s: want a duration in quotes, such as \"1.5s\"", data)
	}
	value, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q: want a duration such as \"1.5s\" or \"300ms\"", text)
	}
	*d = duration(value)
	return nil
}

type timingField struct {
	name  string
	value *time.Duration
}

// fields lists the fields by their names in JSON.
func (t *Timing) fields() []timingField {
	return []timingField{
		{"read", &t.Read},
		{"write", &t.Write},
		{"attach", &t.Attach},
		{"detach", &t.Detach},
		{"plugDelay", &t.PlugDelay},
		{"deleteInUse", &t.DeleteInUse},
		{"describeLag", &t.DescribeLag},
		{"describeSpread", &t.DescribeSpread},
		{"imdsLag", &t.IMDSLag},
	}
}

// MarshalJSON writes durations as text: {"read":"60ms",...}.
func (t Timing) MarshalJSON() ([]byte, error) {
	values := make(map[string]duration)
	for _, f := range t.fields() {
		values[f.name] = duration(*f.value)
	}
	return json.Marshal(values)
}

// UnmarshalJSON reads what MarshalJSON writes; fields that are not mentioned
// stay as they are, unknown ones are refused.
func (t *Timing) UnmarshalJSON(data []byte) error {
	var values map[string]duration
	if err := json.Unmarshal(data, &values); err != nil {
		return fmt.Errorf("timing: %w", err)
	}
	fields := t.fields()
	for name, value := range values {
		i := slices.IndexFunc(fields, func(f timingField) bool { return f.name == name })
		if i < 0 {
			var known []string
			for _, f := range fields {
				known = append(known, f.name)
			}
			return fmt.Errorf("timing: unknown field %q, there are %s", name, strings.Join(known, ", "))
		}
		*fields[i].value = time.Duration(value)
	}
	return nil
}

// faultJSON is Fault with a Delay as text; its own Delay hides the embedded one.
type faultJSON struct {
	*plainFault
	Delay duration `json:"delay,omitempty"`
}

type plainFault Fault

// MarshalJSON writes the delay as text.
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultJSON{plainFault: (*plainFault)(&f), Delay: duration(f.Delay)})
}

// UnmarshalJSON reads what MarshalJSON writes and refuses unknown fields.
func (f *Fault) UnmarshalJSON(data []byte) error {
	value := faultJSON{plainFault: (*plainFault)(f)}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	f.Delay = time.Duration(value.Delay)
	return nil
}
