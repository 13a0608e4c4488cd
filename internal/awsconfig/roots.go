package awsconfig

// The images hold nothing but a program, so the CA roots that its TLS needs are
// linked into it. They are used only where the host has none.
import _ "golang.org/x/crypto/x509roots/fallback"
