package inventory

// Use is what an ENI is used for.
type Use int

const (
	// Assigned: a slot has it, or may have it.
	Assigned Use = iota
	// Releasing: nothing wants it, and its link is still to be taken down.
	Releasing
	// Released: its link has been taken down.
	Released
	// Left: its link has gone since, so it is being detached.
	Left
	// Returning: it was released and is wanted again. EC2 has to tell whether it is
	// still there: the coordinator may be deleting it at this moment.
	Returning
)

// Evidence is what speaks for the existence of an ENI.
type Evidence int

const (
	// Reported: only this node's report names it, so its attributes are not known.
	Reported Evidence = iota
	// Disputed: only the report names it, and a describe lacked it that had to show it.
	Disputed
	// Expected: EC2 has answered the call that created it, and no describe has shown
	// it yet.
	Expected
	// Shown: a describe has shown it, and its absence from another means something.
	Shown
	// Missed: the last describe lacked it, though it had to show it.
	Missed
)

// Link is what is known of an ENI's link.
type Link int

const (
	// LinkNeverSeen: the ENI may never have been attached here.
	LinkNeverSeen Link = iota
	// LinkSeen: the link has been here, so EC2 has the ENI and will soon show it.
	LinkSeen
	// LinkLost: the link has gone, though the ENI was not detached as far as is known.
	LinkLost
)
