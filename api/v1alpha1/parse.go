package v1alpha1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// ParseNodeENIs reads the NodeENIs of a file with YAML or JSON documents, for
// places without an API server, and treats them as one would: unknown and
// repeated fields are refused, defaults are filled in, and the rules of the
// schema are enforced. The error names everything that is wrong with the first
// bad document.
func ParseNodeENIs(file []byte) ([]*NodeENI, error) {
	var nodeENIs []*NodeENI
	decoder, err := newStrictDecoder()
	if err != nil {
		return nil, err
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(file)))
	for number := 1; ; number++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nodeENIs, nil
		}
		if err != nil {
			return nil, err
		}
		nodeENI, err := parseNodeENI(decoder, document)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		if nodeENI != nil {
			nodeENIs = append(nodeENIs, nodeENI)
		}
	}
}

// newStrictDecoder returns the decoder of Kubernetes' own configuration files:
// field names are case-sensitive, and unknown or repeated ones are errors.
func newStrictDecoder() (runtime.Decoder, error) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		return nil, err
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme,
		json.SerializerOptions{Yaml: true, Strict: true}), nil
}

// parseNodeENI returns nil for a document that holds nothing but comments.
func parseNodeENI(decoder runtime.Decoder, document []byte) (*NodeENI, error) {
	content, err := yaml.YAMLToJSON(document)
	if err != nil || string(content) == "null" {
		return nil, err
	}
	kind, err := json.DefaultMetaFactory.Interpret(content)
	if err != nil {
		return nil, fmt.Errorf("this is not a NodeENI: %w", err)
	}
	if *kind != GroupVersion.WithKind("NodeENI") {
		return nil, fmt.Errorf("this is not a NodeENI: it needs `apiVersion: %s` and `kind: NodeENI`, but has %q and %q",
			GroupVersion, kind.GroupVersion(), kind.Kind)
	}
	nodeENI := &NodeENI{}
	// Defaults come first, so that an explicit `deviceIndex: 0` is seen and refused.
	Default(nodeENI)
	if _, _, err := decoder.Decode(document, nil, nodeENI); err != nil {
		return nil, err
	}
	if errs := ValidateNodeENI(nodeENI); len(errs) > 0 {
		return nil, fmt.Errorf("NodeENI %q: %w", nodeENI.Name, errs.ToAggregate())
	}
	Default(nodeENI) // what was null
	return nodeENI, nil
}
