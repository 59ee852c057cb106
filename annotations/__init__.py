"""The curators' room: what goes to Label Studio and what comes back."""
