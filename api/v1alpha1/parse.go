package v1alpha1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// ParseNodeENIs reads the NodeENIs of a file with YAML or JSON documents, for
// places without an API server, and treats them as one would: documents may be
// lists, as kubectl get writes them, unknown and repeated fields are refused, defaults are filled in, and the rules of the
// schema are enforced. The error names everything that is wrong with the first
// bad document, and the line of the file where that begins or, when it is not
// YAML, where it breaks.
func ParseNodeENIs(file []byte) ([]*NodeENI, error) {
	var nodeENIs []*NodeENI
	decoder, err := newStrictDecoder()
	if err != nil {
		return nil, err
	}
	// As the reader hands out lines, so that documents are found again.
	file = append(bytes.ReplaceAll(file, []byte("\r\n"), []byte("\n")), '\n')
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(file)))
	end := 0 // of the documents so far
	for number := 1; ; number++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nodeENIs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		begin := end + max(0, bytes.Index(file[end:], document))
		end = min(begin+len(document), len(file))
		above := bytes.Count(file[:begin], []byte("\n"))
		some, err := parseDocument(decoder, document, above)
		if err != nil {
			return nil, fmt.Errorf("document %d (line %d): %w", number, above+1, err)
		}
		nodeENIs = append(nodeENIs, some...)
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

// yamlLine is a line of the document in an error of the YAML parser.
var yamlLine = regexp.MustCompile(`\bline (\d+)`)

// parseDocument returns nothing for a document that holds nothing but comments.
// above is the number of lines of the file before it.
func parseDocument(decoder runtime.Decoder, document []byte, above int) ([]*NodeENI, error) {
	content, err := yaml.YAMLToJSON(document)
	if err != nil {
		return nil, errors.New(yamlLine.ReplaceAllStringFunc(err.Error(), func(text string) string {
			n, _ := strconv.Atoi(yamlLine.FindStringSubmatch(text)[1])
			return fmt.Sprintf("line %d", above+n)
		}))
	}
	if string(content) == "null" {
		return nil, nil
	}
	kind, err := json.DefaultMetaFactory.Interpret(content)
	if err != nil {
		return nil, fmt.Errorf("this is not a NodeENI: %w", err)
	}
	switch *kind {
	case GroupVersion.WithKind("NodeENI"):
		nodeENI, err := parseNodeENI(decoder, document, content)
		return []*NodeENI{nodeENI}, err
	case schema.GroupVersionKind{Version: "v1", Kind: "List"}, GroupVersion.WithKind("NodeENIList"):
		return parseList(decoder, document)
	}
	return nil, notNodeENI(*kind)
}

func notNodeENI(kind schema.GroupVersionKind) error {
	return fmt.Errorf("this is not a NodeENI: it needs `apiVersion: %s` and `kind: NodeENI`, but has %q and %q",
		GroupVersion, kind.GroupVersion(), kind.Kind)
}

// parseList reads a list. Items of a NodeENIList need not say what they are.
func parseList(decoder runtime.Decoder, document []byte) ([]*NodeENI, error) {
	var list struct {
		APIVersion string           `json:"apiVersion"`
		Kind       string           `json:"kind"`
		Metadata   map[string]any   `json:"metadata"`
		Items      []map[string]any `json:"items"`
	}
	if err := yaml.UnmarshalStrict(document, &list); err != nil {
		return nil, err
	}
	var nodeENIs []*NodeENI
	for i, item := range list.Items {
		if item != nil && item["apiVersion"] == nil && item["kind"] == nil && list.Kind == "NodeENIList" {
			item["apiVersion"], item["kind"] = GroupVersion.String(), "NodeENI"
		}
		nodeENI, err := parseItem(decoder, item)
		if err != nil {
			return nil, fmt.Errorf("item %d of the list: %w", i+1, err)
		}
		nodeENIs = append(nodeENIs, nodeENI)
	}
	return nodeENIs, nil
}

func parseItem(decoder runtime.Decoder, item map[string]any) (*NodeENI, error) {
	content, err := yaml.Marshal(item)
	if err != nil {
		return nil, err
	}
	if content, err = yaml.YAMLToJSON(content); err != nil {
		return nil, err
	}
	kind, err := json.DefaultMetaFactory.Interpret(content)
	if err != nil {
		return nil, fmt.Errorf("this is not a NodeENI: %w", err)
	}
	if *kind != GroupVersion.WithKind("NodeENI") {
		return nil, notNodeENI(*kind)
	}
	return parseNodeENI(decoder, content, content)
}

// parseNodeENI reads one NodeENI, whose content is its JSON.
func parseNodeENI(decoder runtime.Decoder, document, content []byte) (*NodeENI, error) {
	nodeENI := &NodeENI{}
	// Defaults come first, so that an explicit `deviceIndex: 0` is seen and refused.
	Default(nodeENI)
	if _, _, err := decoder.Decode(document, nil, nodeENI); err != nil {
		return nil, err
	}
	if err := dropNulls(nodeENI, content); err != nil {
		return nil, err
	}
	if errs := ValidateNodeENI(nodeENI); len(errs) > 0 {
		return nil, fmt.Errorf("NodeENI %q: %w", nodeENI.Name, errs.ToAggregate())
	}
	Default(nodeENI) // what was null
	return nodeENI, nil
}

// dropNulls takes the entries whose value is null out of the maps, as an API
// server does before it looks at them; the decoder makes empty strings of them.
func dropNulls(nodeENI *NodeENI, content []byte) error {
	var written struct {
		Spec struct{ NodeSelector, Tags map[string]*string }
	}
	if err := yaml.Unmarshal(content, &written); err != nil {
		return err
	}
	drop := func(from map[string]string, written map[string]*string) {
		maps.DeleteFunc(from, func(key, _ string) bool { return written[key] == nil })
	}
	drop(nodeENI.Spec.NodeSelector, written.Spec.NodeSelector)
	drop(nodeENI.Spec.Tags, written.Spec.Tags)
	return nil
}
