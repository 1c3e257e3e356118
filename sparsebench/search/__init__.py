"""The search for networks under limits: what is proposed, what cannot be, and which are worth a full training."""
