package imds

import (
	"net/http"
	"strings"
	"testing"
)

func TestUserData(t *testing.T) {
	const binary = "\x1f\x8b\x00 not text \n\n"
	for name, want := range map[string]string{"as it is": binary, "": ""} {
		got, err := serve(t, newService(func(v map[string]string) {
			if want != "" {
				v["/latest/user-data"] = want
			}
		})).UserData(t.Context())
		if err != nil || string(got) != want || (got == nil) != (want == "") {
			t.Errorf("%s: UserData = %q, %v; want %q", name, got, err, want)
		}
	}
	got, err := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	})).UserData(t.Context())
	if err == nil || got != nil || !strings.Contains(err.Error(), "HttpEndpoint") {
		t.Errorf("switched off: UserData = %q, %v", got, err)
	}
}
