// What lists the licences of what is linked needs to know licences.
module github.com/aws-multi-eni/aws-multi-eni/hack/tools/licences

go 1.26

require github.com/google/licensecheck v0.3.1
