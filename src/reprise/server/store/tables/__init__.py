"""Tables of a store next to the log of events: states of users, item changes, and the queue of erased users."""
