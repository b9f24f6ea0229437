"""What proves the plugins beside: a simulator and a contract test for each. Reelgate itself loads none of this."""
