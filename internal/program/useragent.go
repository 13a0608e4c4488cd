package program

import (
	"os"
	"path/filepath"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// UserAgent is how a program names itself to the API server, whose managedFields
// show what is before the slash.
func UserAgent(name string) string { return name + "/" + Version }

// userAgentOfAWS names project and program in each request to AWS, as CloudTrail
// shows it.
func userAgentOfAWS() []func(*middleware.Stack) error {
	return []func(*middleware.Stack) error{
		awsmiddleware.AddUserAgentKeyValue("aws-multi-eni", Version),
		awsmiddleware.AddUserAgentKey(filepath.Base(os.Args[0])),
	}
}
