package podnetwork

import (
	"encoding/json"
	"time"
)

// Attachment is a pod's interface that the CNI plugin has made, or is about to make: it
// is written before anything else is done, so that it can be undone without the
// network's file.
type Attachment struct {
	ContainerID string `json:"containerID"`
	Interface   string `json:"interface"` // in the pod
	// NetNS is the path of the pod's network namespace. The runtime removes it with the
	// pod's sandbox, and a reboot removes all.
	NetNS string `json:"netns"`
	// Pod is the pod's namespace and name, "" when the runtime does not tell.
	Pod string `json:"pod,omitempty"`
	// Network is the name of the CNI configuration.
	Network string `json:"network"`
	NodeENI string `json:"nodeENI"`
	ENI     string `json:"eni"`
	// Created is when the attachment was begun.
	Created time.Time `json:"created"`
	// Delegate is the configuration of the plugin that makes the interface.
	Delegate json.RawMessage `json:"delegate"`
}
