package kube

import (
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

func TestNodeCounts(t *testing.T) {
	const columns = `"columnDefinitions":[{"name":"Name"},{"name":"Failed"},{"name":"Matching"},{"name":"Ready"}]`
	for name, test := range map[string]struct {
		table string
		want  v1alpha1.NodeCounts
		fails bool
	}{
		"in any order":      {table: `{` + columns + `,"rows":[{"cells":["x",1,1000,900]}]}`, want: v1alpha1.NodeCounts{Matching: 1000, Ready: 900, Failed: 1}},
		"no status yet":     {table: `{` + columns + `,"rows":[{"cells":["x",null,null,null]}]}`},
		"no row":            {table: `{` + columns + `,"rows":[]}`, fails: true},
		"no such column":    {table: `{"columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["x"]}]}`, fails: true},
		"cells are missing": {table: `{` + columns + `,"rows":[{"cells":["x",1]}]}`, fails: true},
		"not a table":       {table: `<html>`, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := nodeCounts([]byte(test.table))
			if got != test.want || (err != nil) != test.fails {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
