"""What gives verdicts in the place of the packaged router model."""
