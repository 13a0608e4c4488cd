package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// asTable asks for what kubectl get shows.
const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io"

// NodeCounts are those of a NodeENI's status, read from the columns that kubectl
// shows: the object holds up to 100 attachments, and a fleet that reads it at once
// had better read 500 bytes.
func (c *Client) NodeCounts(ctx context.Context, nodeENI string) (v1alpha1.NodeCounts, error) {
	raw, err := c.API.Get().Resource(NodeENIs).Name(nodeENI).
		SetHeader("Accept", asTable).Param("includeObject", string(metav1.IncludeNone)).
		Param("resourceVersion", "0"). // from the API server's memory, not from etcd
		Do(ctx).Raw()
	if err != nil {
		return v1alpha1.NodeCounts{}, err
	}
	counts, err := nodeCounts(raw)
	if err != nil {
		return v1alpha1.NodeCounts{}, fmt.Errorf("get NodeENI %s as a table: %w", nodeENI, err)
	}
	return counts, nil
}

// nodeCounts reads the columns of a table with one row. A cell is empty while
// there is no status.
func nodeCounts(raw []byte) (counts v1alpha1.NodeCounts, err error) {
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		return counts, err
	}
	if len(table.Rows) != 1 {
		return counts, fmt.Errorf("it has %d rows instead of one", len(table.Rows))
	}
	columns := map[string]*int32{"Matching": &counts.Matching, "Ready": &counts.Ready, "Failed": &counts.Failed}
	for i, column := range table.ColumnDefinitions {
		if i >= len(table.Rows[0].Cells) {
			break
		}
		if count, ok := columns[column.Name]; ok {
			number, _ := table.Rows[0].Cells[i].(float64)
			*count = int32(number)
			delete(columns, column.Name)
		}
	}
	if len(columns) > 0 {
		return v1alpha1.NodeCounts{}, errors.New("columns are missing; the CRD is from another version")
	}
	return counts, nil
}
