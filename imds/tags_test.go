package imds

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
)

func TestTags(t *testing.T) {
	tests := []struct {
		name string
		tags map[string]string // as IMDS shows them
		list string
		want map[string]string
		err  error
	}{
		{"one", map[string]string{"ng": "multi-eni"}, "ng", map[string]string{"ng": "multi-eni"}, nil},
		{"with all characters that a key may have", map[string]string{"a+b-c=d.e,f_g:h@i": "x"}, "a+b-c=d.e,f_g:h@i", map[string]string{"a+b-c=d.e,f_g:h@i": "x"}, nil},
		{"with an empty value", map[string]string{"Name": "node 1", "ng": ""}, "Name\nng\n", map[string]string{"Name": "node 1", "ng": ""}, nil},
		{"one that goes meanwhile", map[string]string{"ng": "multi-eni"}, "gone\nng", map[string]string{"ng": "multi-eni"}, nil},
		{"none, and told so", nil, "\n", map[string]string{}, nil},
		{"not told", nil, "", nil, ErrNoTags},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := serve(t, newService(func(v map[string]string) {
				if test.list != "" {
					v["tags/instance"] = test.list
				}
				for key, value := range test.tags {
					v["tags/instance/"+key] = value
				}
			})).Tags(t.Context())
			if !errors.Is(err, test.err) || !maps.Equal(got, test.want) {
				t.Errorf("Tags = %v, %v; want %v, %v", got, err, test.want, test.err)
			}
		})
	}
}

// Half an answer is none: a label that is missing would cost the node an ENI.
func TestTagsAllOrNone(t *testing.T) {
	s := newService(func(v map[string]string) {
		v["tags/instance"], v["tags/instance/a"], v["tags/instance/b"] = "a\nb", "1", "2"
	})
	tags, err := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/b") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.ServeHTTP(w, r)
	})).Tags(t.Context())
	if err == nil || tags != nil {
		t.Errorf("Tags = %v, %v", tags, err)
	}
}
