"""From members to posteriors: what predictors say about subjects, and how that is kept."""
