"""The quickstart: its data and the run through all five scenarios."""
