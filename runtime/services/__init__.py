"""Services: long-lived work with one owner each, thin around the cores that decide."""
