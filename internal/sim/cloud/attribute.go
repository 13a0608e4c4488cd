package cloud

// EnaSrdChange sets ENA Express; what is nil stays as it is.
type EnaSrdChange struct{ Enabled, UDP *bool }

// applied is the setting after a change. Without ENA Express there is none for UDP.
func (s *EnaSrdChange) applied(old *EnaSrd) *EnaSrd {
	if s == nil {
		return old
	}
	var next EnaSrd
	if old != nil {
		next = *old
	}
	if s.Enabled != nil {
		next.Enabled = *s.Enabled
		next.UDP = next.UDP && next.Enabled
	}
	if s.UDP != nil {
		next.UDP = *s.UDP
	}
	return &next
}

// checkEnaSrd says whether an ENI on an instance of the type can have a setting of
// ENA Express. The codes are not verified.
func (t InstanceType) checkEnaSrd(s *EnaSrd) error {
	switch {
	case s == nil:
		return nil
	case s.UDP && !s.Enabled:
		return Errorf("InvalidParameterCombination", "ENA Express for UDP traffic needs ENA Express")
	case s.Enabled && !t.EnaSrd:
		return t.unsupported("ENA Express")
	}
	return nil
}

// checkQueues says whether an ENI can have that many queues beside the other ENIs on
// its card; 0 is the default number. The codes are not verified.
func (c *Cloud) checkQueues(host *instance, eniID string, card, count int32) error {
	t := c.types[host.history.latest().Type]
	switch {
	case count == 0:
	case !t.EnaQueues.Flexible:
		return t.unsupported("a number of ENA queues")
	case count < 1 || count > t.EnaQueues.MaxPerENI:
		return Errorf("InvalidParameterValue", "Value (%d) for parameter enaQueueCount is invalid. The instance type '%s' has 1 to %d per network interface.",
			count, t.Name, t.EnaQueues.MaxPerENI)
	}
	if !t.EnaQueues.Flexible {
		return nil
	}
	setDefault(&count, t.EnaQueues.Default)
	total := count
	for id, other := range host.enis {
		if a := other.history.latest().Attachment; id != eniID && a.NetworkCardIndex == card {
			queues := a.EnaQueueCount
			setDefault(&queues, t.EnaQueues.Default)
			total += queues
		}
	}
	if total > t.EnaQueues.MaxPerCard {
		return Errorf("InvalidParameterValue", "Value (%d) for parameter enaQueueCount is invalid. Network card %d of instance type '%s' has %d queues, %d of them are in use.",
			count, card, t.Name, t.EnaQueues.MaxPerCard, total-count)
	}
	return nil
}

// The ranges of connection tracking's timeouts in seconds.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html#connection-tracking-timeouts
func (t ConnectionTracking) check() error {
	for _, timeout := range []struct {
		name          string
		value         int32
		lowest, limit int32
	}{
		{"tcpEstablishedTimeout", t.TCPEstablished, 60, 432000},
		{"udpStreamTimeout", t.UDPStream, 60, 180},
		{"udpTimeout", t.UDP, 30, 60},
	} {
		if timeout.value != 0 && (timeout.value < timeout.lowest || timeout.value > timeout.limit) {
			return Errorf("InvalidParameterValue", "Value (%d) for parameter %s is invalid. Expecting a value from %d to %d.",
				timeout.value, timeout.name, timeout.lowest, timeout.limit)
		}
	}
	return nil
}

// applied are the timeouts after a change: those that it leaves out stay. That EC2
// does so is not verified.
func (t ConnectionTracking) applied(old ConnectionTracking) ConnectionTracking {
	setDefault(&t.TCPEstablished, old.TCPEstablished)
	setDefault(&t.UDPStream, old.UDPStream)
	setDefault(&t.UDP, old.UDP)
	return t
}
